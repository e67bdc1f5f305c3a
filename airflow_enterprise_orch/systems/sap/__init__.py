"""SAP: background jobs over XBP, and the application jobs of S/4HANA over OData."""
