# SPDX-License-Identifier: GPL-3.0-or-later
"""What MQTT servers and clients had wrong: the class of weakness, and by what number it is known. The
cases are in cases_flaws and, where a statement has them anyway, with that statement."""

OVER_READ = "a length beyond the packet is read (CWE-125; CVE-2020-10071)"
INTEGER_OVER_READ = "a variable integer is read beyond the packet (CWE-125; nanomq issue 1720)"
LENGTH_BELIEVED = "a remaining length is believed (CWE-789; CVE-2017-7651, CVE-2023-0809)"
LENGTH_OVERFLOWS = "a remaining length of more than four bytes overflows (CWE-190; CVE-2019-19307)"
SERVERS_PACKET = "a packet that only servers send is taken from a client (CWE-476; CVE-2021-28166)"
EMPTY_TOPIC = "a topic of no bytes is a null pointer (CWE-476; CVE-2021-34432)"
ILL_FORMED_TEXT = "text that is no UTF-8 is handed on (CWE-20; CVE-2017-7653)"
DEEP_TOPIC = "a topic of separators alone overflows the stack (CWE-674; CVE-2019-11779)"
DOLLAR = "a topic that begins with $ fails an assertion (CWE-617; CVE-2018-12543)"
LIST_RACE = "a list of subscriptions changes while it is walked " \
    "(CWE-416; CVE-2025-59946, CVE-2026-22040)"
AFTER_DISCONNECT = "a packet after DISCONNECT uses what was freed (CWE-416; CVE-2024-8376)"
UNSUBSCRIBED = "UNSUBSCRIBE during a delivery uses what was freed (CWE-416; CVE-2024-8376)"
WILL_OUTLIVES = "a will whose delay is longer than its session uses what was freed " \
    "(CWE-416; CVE-2019-11778)"
WILL_TAKEN_OVER = "a take-over while a will is due uses what was freed (CWE-416)"
TAKEN_OVER = "a take-over during a delivery uses what was freed (CWE-416; CVE-2026-22040)"
NEVER_RELEASED = "packet ids of QoS 2 that are never released (CWE-770)"
DUPLICATES = "duplicates of QoS 2 leak (CWE-401; CVE-2023-28366)"
NO_ACKNOWLEDGEMENT = "a subscriber that never acknowledges exhausts the queue (CWE-770)"
QUEUE = "a queue for who is away without a bound (CWE-770)"
ENDED_LEAKS = "what waited for a session that has ended is not freed (CWE-401; CVE-2025-62723)"
SESSIONS = "sessions without a bound (CWE-770)"
RETAINED = "retained messages without a bound (CWE-770)"
SUBSCRIPTIONS = "subscriptions without a bound (CWE-770)"
QUADRATIC = "user properties take quadratic time (CWE-407; CVE-2021-41039)"
REFUSED_LEAKS = "what a refused CONNECT held is not freed " \
    "(CWE-401; CVE-2017-7654, CVE-2021-34431, CVE-2023-3592)"
SILENT = "a connection that says nothing is kept (CWE-400; CVE-2020-13849)"

ALL = [text for name, text in dict(globals()).items() if name.isupper()]
