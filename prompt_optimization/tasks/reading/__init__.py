"""What a text states, as a careful person would read it.

``spelling`` makes one text of its spellings and ``latex`` undoes typesetting. ``endings`` says
whether an expression goes on after a place in a text. ``numerals`` reads one number, ``quantities``
the first number that a text states, ``labels`` the first option, ``phrases`` anything else.
"""
