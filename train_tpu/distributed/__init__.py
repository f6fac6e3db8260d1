"""Several devices and several hosts: who they are, and where arrays live on them."""
