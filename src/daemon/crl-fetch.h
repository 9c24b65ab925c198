/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Fetches a revocation list now and then (CRLURL=) and hands it to daemon/trusted, which checks it
 * and keeps it. What was fetched last stays in force while the server is away or sends nonsense. */

#include <jansson.h>

#include "daemon/gateway.h"

typedef struct CrlFetch CrlFetch;

/* The first fetch is due soon after. */
int crl_fetch_new(Gateway *g, CrlFetch **ret);
CrlFetch *crl_fetch_free(CrlFetch *f);
DEFINE_CLEANUP(CrlFetch, crl_fetch_free)
/* The settings may be others: what they name is fetched soon. */
void crl_fetch_reloaded(CrlFetch *f);
/* For the status; null where nothing is to be fetched. */
json_t *crl_fetch_status(const CrlFetch *f);
