"""Command line: words in, words out.

Options become arguments of the API; results and errors become text or JSON.
"""
