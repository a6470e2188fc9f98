"""What the client costs, beside raw httpx, the least that each framework allows, and other packages."""
