# SPDX-License-Identifier: GPL-3.0-or-later
"""All cases, in the order in which they run."""

import cases_bytes
import cases_connect
import cases_flaws
import cases_publish
import cases_session
import cases_subscribe
import clients

CASES = [case for module in (cases_connect, cases_publish, cases_subscribe,
                             cases_session, cases_bytes, cases_flaws, clients)
         for case in module.CASES]
