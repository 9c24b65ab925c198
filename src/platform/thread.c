/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/thread.h"

#include <pthread.h>
#include <signal.h>
#include <stddef.h>

int thread_start(void *(*function)(void *), void *data)
{
        sigset_t all, before;
        pthread_attr_t attr;
        pthread_t thread;
        sigfillset(&all);
        pthread_attr_init(&attr);
        pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        int r = pthread_create(&thread, &attr, function, data);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        pthread_attr_destroy(&attr);
        return -r;
}
