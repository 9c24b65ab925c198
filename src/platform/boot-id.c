/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/boot-id.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/str.h"

/* "xxxxxxxx-xxxx-...": hex with dashes. */
void boot_id_read(uint8_t ret[static BOOT_ID_SIZE])
{
        char text[64] = "", hex[2 * BOOT_ID_SIZE + 1] = "";
        size_t n = 0;
        FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
        if (f && fgets(text, sizeof(text), f))
                for (const char *p = text; *p && n < sizeof(hex) - 1; p++)
                        if (*p != '-' && *p != '\n')
                                hex[n++] = *p;
        if (f)
                fclose(f);
        memset(ret, 0, BOOT_ID_SIZE);
        if (hex_decode(hex, ret, BOOT_ID_SIZE) < 0)
                log_warning("Cannot read the boot id, ignoring");
}
