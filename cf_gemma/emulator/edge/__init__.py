"""What Cloudflare puts in front of the model: routes, tokens, accounts, gateways, the input check, the queue.

`service` answers the routes and asks the others in Cloudflare's order; `settings` has what may be chosen.
"""
