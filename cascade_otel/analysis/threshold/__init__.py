"""Where should τ be?"""
