"""The mainframe: z/OSMF jobs."""
