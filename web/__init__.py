"""Pages, live figures and a JSON API over the read models; nothing here is the truth about anything."""
