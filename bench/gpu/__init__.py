"""What a GPU gives the server, part by part, and where its limits are."""
