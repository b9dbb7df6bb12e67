"""Names with characters that mean something to shells, files, addresses or HTML."""

NAMES = [
    "Real World",
    "a;b=c",
    "50%",
    "$x$ <b>&\"'",
    "{w}*?[1]",
    "ψ–犬",
    "~home",
    "_x",
    "#1,2",
    "a%3Bb",
]
