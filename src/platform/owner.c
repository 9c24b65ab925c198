/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/owner.h"

#include <errno.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <unistd.h>

#define ASK ((uid_t)-1) /* changes nothing, tells what it is */

void owner_end(Owner *o)
{
        if (!o->changed)
                return;
        setfsuid(geteuid());
        setfsgid(getegid());
        o->changed = false;
}

int owner_begin(const char *directory, Owner *ret, Reason *reason)
{
        struct stat st;
        if (geteuid() != 0 || stat(directory, &st) < 0 || st.st_uid == 0)
                return 0;
        ret->changed = true;
        setfsgid(st.st_gid); /* first: it takes privilege */
        setfsuid(st.st_uid);
        if ((uid_t)setfsuid(ASK) == st.st_uid && (gid_t)setfsgid((gid_t)ASK) == st.st_gid)
                return 0;
        owner_end(ret);
        return reason_set(reason, -EPERM, "Cannot write into %s as its owner", directory);
}
