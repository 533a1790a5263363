"""One file per model family on top of ``template.py``, which explains every key."""
