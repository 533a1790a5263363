"""From a folder of logs to tables, plots and a page."""
