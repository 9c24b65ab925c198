/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* One piece of work on a thread of its own, for what would hold up the loop: the loop hears when it
 * is done. */

#include "platform/loop.h"

typedef struct Job Job;

typedef struct JobWork {
        void (*run)(void *data);  /* on the thread, with signals blocked */
        void (*free)(void *data); /* on either, at the end */
        /* From the loop, with the data for as long as the call lasts; never after job_cancel(). */
        void (*done)(void *data, void *userdata);
} JobWork;

/* `name` of at most 15 bytes. Takes `data` over when it succeeds. `work` has to be constant. The
 * job ends with the call of `done`. 0, -ENOMEM, -EAGAIN. */
int job_start(Loop *loop, const char *name, const JobWork *work, void *data, void *userdata,
              Job **ret);
/* Waits for the thread, and nobody hears of it: at the end of the process alone. Takes NULL. */
Job *job_join(Job *j);
/* The thread runs on to its end, and nobody hears of it. Takes NULL. */
Job *job_cancel(Job *j);
DEFINE_CLEANUP(Job, job_cancel)
