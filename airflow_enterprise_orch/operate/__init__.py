"""The command line of those who run value streams: hold, skip, restart and the like, through the API of the pages."""
