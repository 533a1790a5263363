"""From a folder of logs to tables and a page."""
