/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Inside of proto/corim: what the named profile demands of the lists. */

#include "proto/corim.h"

/* Profiles without rules of their own always pass. */
bool corim_profile_ok(const Corim *c);
