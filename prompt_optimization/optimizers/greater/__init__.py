"""GReaTer: edit one token at a time, guided by gradients through the model's own reasoning.

The steps of the paper are in propose, differentiate and select; search puts them in order.
"""
