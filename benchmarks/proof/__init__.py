"""Which search gains most at one amount of work, over several tasks and seeds?"""
