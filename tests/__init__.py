"""
The tests.  ``make test`` runs them, with :mod:`tests.run`.
"""
