"""Mailboxes that are read over IMAP, by one process at a time: the source `mailbox`."""
