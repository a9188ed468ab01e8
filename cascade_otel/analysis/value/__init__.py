"""Does the cascade pay?"""
