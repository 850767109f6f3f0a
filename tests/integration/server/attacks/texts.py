"""Texts that do harm where they are interpreted: as lines, headers, terminal codes or SQL."""

LINES = [
    "\r\nX-evil: 1",
    "\nX-evil: 1",
    "\rX-evil: 1",
    "\r\n\r\nHTTP/1.1 200 OK\r\nX-evil: 1\r\n\r\n",
    "%0d%0aX-evil: 1",
    "\N{NEXT LINE}X-evil: 1",
    "\N{LINE SEPARATOR}X-evil: 1",
    "\0",
    "\x1b[2J\x1b]0;evil\a",
    "\N{RIGHT-TO-LEFT OVERRIDE}live",
    '"} {"evil": "',
]

SQL = [
    *("'", '"', "' OR '1'='1", "1 OR 1=1", "1=1", "x'; DROP TABLE images; --", "DROP TABLE images--"),
    *("') UNION SELECT hash FROM tokens --", "' || (SELECT group_concat(hash) FROM tokens) || '"),
    *("'; ATTACH DATABASE 'evil.db' AS evil; --", "'; PRAGMA writable_schema = 1; --"),
    *("x' AND randomblob(1000000000) AND '1", "\\'; --", "%' ESCAPE '%", "`images`", "[images]", "NULL", "*", "?"),
    *("?1", ":tenant", "@tenant", "$tenant", "%s", "{scans}", "{0.__class__}", "x\0' OR 1=1 --"),
]
