/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Inside of proto/corim: one CoMID into the lists of a Corim. */

#include "proto/corim.h"

/* Appends what `comid` (a view into c->data) holds. A CorimOutcome or -ENOMEM. */
int corim_comid_read(Bytes comid, Corim *c);
