"""What talks to a cluster, and the only home of ray: one actor for each engine, blocks of the input to actors.

`sizing` says how many actors of which size, `actor` is what runs in each, `pool` starts them and starts them again;
`run` makes an output of what they give.
Joining a cluster opens connections to it; a cluster that is started here listens on this machine alone.
"""
