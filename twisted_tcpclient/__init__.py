"""
A UCSPI client for Twisted, and STARTTLS for any Twisted application.
"""

__version__ = "0.1.0"
