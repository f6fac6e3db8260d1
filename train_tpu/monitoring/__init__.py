"""What a run tells while it trains and when it ends: metrics, pictures, speed, traces."""
