/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Log messages go to the journal with their fields when the journal reads our standard error. */

/* Sets the sink of base/log when JOURNAL_STREAM names standard error (sd-daemon(3)); otherwise
 * messages stay on standard error. */
void journal_setup(void);
