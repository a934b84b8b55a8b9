"""Tables, exports and the page: everything a reader of the results opens."""
