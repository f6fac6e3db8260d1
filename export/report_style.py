"""The style sheet of report.html: one column, cards, light and dark, nothing fetched from anywhere."""

CSS = """
:root { --bg:#f6f7f9; --card:#fff; --fg:#1b2330; --muted:#5d6878; --line:#e2e6ec; --grid:#eceff3;
  --bar:#4a6fa5; --soft:#8fa9cc; --faint:#cfdbea; --good:#1d8a55; --bad:#c8372d; --warn:#b06a00;
  --move:#d98a2b; --goodbg:#e5f5ec; --badbg:#fdeceb; --warnbg:#fff4e0; }
@media (prefers-color-scheme: dark) { :root { --bg:#12161c; --card:#1a2029; --fg:#e6eaf0; --muted:#9aa6b6;
  --line:#2c3541; --grid:#252d38; --bar:#7aa2dc; --soft:#52709c; --faint:#33455f; --good:#4fc38a;
  --bad:#f0716a; --warn:#e8b04f; --move:#e0a050; --goodbg:#173427; --badbg:#3b1d1c; --warnbg:#3a2d12; } }
* { box-sizing:border-box; }
body { margin:0; background:var(--bg); color:var(--fg); font:15px/1.55 system-ui,-apple-system,"Segoe UI",
  Roboto,Helvetica,Arial,sans-serif; }
main { max-width:880px; margin:0 auto; padding:32px 20px 64px; }
h1 { font-size:26px; margin:0 0 2px; letter-spacing:-.01em; }
h2 { font-size:17px; margin:0 0 4px; }
p { margin:0 0 12px; } p.what { color:var(--muted); font-size:14px; }
code { font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace; overflow-wrap:anywhere; }
.card { background:var(--card); border:1px solid var(--line); border-radius:12px; padding:20px 22px;
  margin-top:18px; }
.verdict { display:flex; gap:16px; align-items:flex-start; }
.verdict p:last-child { margin:0; }
.badge { flex:none; padding:5px 14px; border-radius:999px; font-weight:650; letter-spacing:.02em; }
.badge.good { background:var(--goodbg); color:var(--good); }
.badge.bad { background:var(--badbg); color:var(--bad); }
.banner { background:var(--warnbg); color:var(--warn); border-radius:10px; padding:10px 16px; margin-top:18px;
  font-weight:600; }
.tiles { display:grid; grid-template-columns:repeat(auto-fit,minmax(180px,1fr)); gap:14px; margin-top:18px; }
.tile { background:var(--card); border:1px solid var(--line); border-radius:12px; padding:14px 16px; }
.tile b { display:block; font-size:22px; letter-spacing:-.01em; font-variant-numeric:tabular-nums; }
.tile span { color:var(--muted); font-size:13px; }
table { border-collapse:collapse; width:100%; font-size:14px; font-variant-numeric:tabular-nums; }
th { text-align:left; font-weight:600; color:var(--muted); }
th,td { padding:6px 10px 6px 0; vertical-align:top;
  border-bottom:1px solid var(--line); } tr:last-child td { border-bottom:0; }
td.n,th.n { text-align:right; white-space:nowrap; } .wide { overflow-x:auto; }
.pass { color:var(--good); font-weight:600; } .fail { color:var(--bad); font-weight:600; }
ul { margin:6px 0 0; padding-left:20px; }
svg { width:100%; height:auto; display:block; margin:10px 0 2px; }
svg text { font:13px system-ui,-apple-system,"Segoe UI",Roboto,Helvetica,Arial,sans-serif; fill:var(--fg); }
svg .tick,svg .note { fill:var(--muted); font-size:12px; } svg .value { fill:var(--muted); }
svg .inside { fill:var(--card); font-weight:650; }
svg .grid { stroke:var(--grid); } svg .limit { stroke:var(--bad); stroke-width:1.5; stroke-dasharray:5 4; }
svg .noise { stroke:var(--fg); stroke-width:2; }
svg .bar { fill:var(--bar); } svg .soft { fill:var(--soft); } svg .faint { fill:var(--faint); }
svg .good { fill:var(--good); } svg .bad { fill:var(--bad); } svg .move { fill:var(--move); }
.key { font-size:13px; color:var(--muted); }
.key i { display:inline-block; width:18px; height:0; margin:0 6px 4px 0;
  border-top:2px dashed var(--bad); vertical-align:middle; } .key i.noise { width:0; height:12px; border:0;
  border-left:2px solid var(--fg); margin-left:14px; }
.long { max-height:70vh; overflow:auto; margin-top:10px; } .long table { font-size:12.5px; }
.long code { font-size:12px; } .long th { position:sticky; top:0; background:var(--card); }
.long tr:last-child td { padding-bottom:14px; }
.muted { color:var(--muted); } .line { white-space:nowrap; }
.moves { color:var(--move); font-weight:600; white-space:nowrap; }
details { margin-top:10px; } summary { cursor:pointer; color:var(--muted); }
footer { color:var(--muted); font-size:13px; margin-top:26px; }
"""
