"""The one table, by kinds of item: each module owns its own. `table` alone knows DynamoDB's syntax.

request#ID             ledger      what became of a request
reference#…            ledger      the ticket that a reference means
marker#…, zone#…       ledger      what has been seen of a helpdesk: markers that come back, its zone
gate#HELPDESK          gate        the circuit breaker and the budget
watch…                 watchlist   the tickets that are watched
proof#…                audits      the report of each day's audit
"""
