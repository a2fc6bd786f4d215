"""The one table. Only `table` makes DynamoDB's requests; each kind of item has one owner:

request#, reference#, ticket#      ledger      requests, references, the updates of a ticket
rejected#                          ledger      why a request was refused that was never claimed
marker#, zone#, lists#             ledger      what has been seen of a helpdesk: its markers, zone and lists
gate#                              gate        the circuit breaker and the budget
watch#, asked#                     watchlist   the tickets that are watched, and those that are to be
proof#                             audits      the report of each day's audit

`change#` belongs to work.changes, `key#` to work.token_expiry, `by_hand#` to the tools' interventions.
"""
