/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What the loads understand alike on their command lines. A word that is wrong ends the program. */

#include "load.h"

uint32_t option_number(const char *s, uint32_t min, uint32_t max);
/* FILE.pem and FILE.key. */
void option_pair(const char *stem, X509 **ret, EVP_PKEY **ret_key);
/* An IPv4 address in host order. */
uint32_t option_source(const char *s);
/* ADDRESS:PORT; it is the server's name where it has no other. `text` has to hold. */
void option_target(LoadParams *p, const char *text);
