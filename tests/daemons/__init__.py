"""Several daemons that share one PostgreSQL: killed, frozen, cut off."""
