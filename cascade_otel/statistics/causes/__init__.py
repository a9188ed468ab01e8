"""Telling causes of a changed escalation rate apart."""
