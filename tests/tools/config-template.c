/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Prints the configuration files that are shipped: config-template [device] */
#include "daemon/config.h"

int main(int argc, char **argv)
{
        if (argc > 1)
                config_print_device_template(stdout);
        else
                config_print_template(stdout);
        return 0;
}
