/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Inside of proto/corim: one measurement-map of a reference triple. */

#include "base/reader.h"
#include "proto/corim.h"

/* Reads the next item of a checked document into `m`, which is zeroed; fails the reader when it is
 * not a measurement. */
void corim_measurement_read(Reader *r, CorimMeasurement *m);
