"""The enterprise in a box: a faithful stand-in of every system, on loopback."""
