"""A call becomes telemetry: OpenTelemetry API and standard library only.

In reading order: ``_counters`` and ``_guard`` (cheap counters; our faults stay ours), ``_values`` (what may
be recorded of what the user's code says), ``_usage`` with ``_usage_shapes`` and ``_prices`` (what a result
tells of tokens and model, and their price), ``_clients`` (who else is recording), ``_instruments`` and
``_series`` (what is prepared once), ``_visits`` (who escalated), ``_calls``, ``_tier_call`` and
``_cascade_call`` (from start to being handed on), ``_shapes`` (plain function, coroutine, generators),
``_site``, ``_tier``, ``_cascade`` and ``_scorer`` (what people write), ``_audit`` (what is asked again),
``_record`` and ``_feedback`` (past calls, later labels).
"""
