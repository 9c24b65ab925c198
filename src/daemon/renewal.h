/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The identity's certificate is renewed by EST, and a new one is tried before it is put in force.
 *
 * A new certificate, renewed or written by "sallyportctl identity install", is a candidate: a
 * second connection upstream with it tells whether it is accepted. Then it is put in force; where
 * it is refused it is set aside, and the old one stays. While the upstream cannot be reached it
 * waits. Devices and the connection in use notice nothing of it. */

#include <jansson.h>

#include "daemon/gateway.h"

/* Takes up a candidate that waits since before a restart. The doors are open already. */
int renewal_new(Gateway *g, Renewal **ret);
Renewal *renewal_free(Renewal *r);

/* The daemon is about to end: nothing begins any more. */
void renewal_stop(Renewal *r);
/* It is in the middle of writing: neither the loop's end nor renewal_free() before that. */
bool renewal_busy(const Renewal *r);
/* Whatever the share of the lifetime. -ENOTSUP: there is no EST server; -EBUSY: a new certificate
 * is under way; with half a sentence. */
int renewal_begin(Renewal *r, const char **ret_message);
/* After a reload: a certificate that somebody has installed; what was mended may be tried now. */
void renewal_reloaded(Renewal *r);
/* The upstream is about to become another: a trial there says nothing any more. */
void renewal_stop_trial(Renewal *r);

/* For Status: validity, renewal, reason... */
json_t *renewal_status(const Renewal *r);
/* What is wrong with the certificate in half a sentence, "" when nothing is. */
#define RENEWAL_TEXT_MAX 400
void renewal_problem(const Renewal *r, char ret[static RENEWAL_TEXT_MAX]);
