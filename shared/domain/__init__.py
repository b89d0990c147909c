"""The nouns of Countersign, one file each: a frozen dataclass and its marshmallow schema.

Glossary

* Event           one outside happening, normalised: who sent it, what it says, which record
* RecordRef       a record in a CRM: CRM, object type, id
* Reading         what was read from a record: fields, version, time
* Classification  the answer for one event: route, urgency, summary, draft, steps, proposals
* Proposal        changes to one record (or one draft record), waiting for a person
* Decision        what a person decided about one proposal, signed
* Change          a permitted write; the gate alone makes one
* Receipt         proof that the intent of a change is in the ledger
* LedgerEntry     one line of the audit log: what everybody may see, and a commitment to the rest
* Envelope        what travels on the bus: one body with its topic, chain, cause and actor
* Topic           what can happen here: a routing key and an audit action at once
* chain           all that follows from one event carries that event's id
"""
