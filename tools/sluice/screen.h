/* SPDX-License-Identifier: GPL-2.0-only */
/* A terminal taken over for a full-screen picture, and given back as it was. */
#ifndef SLUICE_SCREEN_H
#define SLUICE_SCREEN_H

#include <termios.h>

struct screen {
	struct termios before;
};

/* Takes the terminal at stdin and stdout. 0, or -errno: they are none. */
int screen_open(struct screen *ret);
void screen_close(const struct screen *screen);

/* Shows `text`, as many of its lines and columns as fit. */
void screen_draw(const char *text);

#endif
