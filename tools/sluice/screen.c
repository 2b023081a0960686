// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns the terminal while `sluice top` runs: the alternate screen, no cursor,
 * no line wrap, keys unechoed. Escape sequences are those of ECMA-48 and xterm,
 * which every terminal in use knows. Refuses anything that is no terminal.
 */
#include "screen.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define ENTER "\033[?1049h\033[?25l\033[?7l"
#define LEAVE "\033[?7h\033[?25h\033[?1049l"

int screen_open(struct screen *ret)
{
	struct termios raw;

	if (!isatty(STDOUT_FILENO) || tcgetattr(STDIN_FILENO, &ret->before))
		return -ENOTTY;
	raw = ret->before;
	raw.c_lflag &= ~(ICANON | ECHO);
	if (tcsetattr(STDIN_FILENO, TCSANOW, &raw))
		return -errno;
	fputs(ENTER, stdout);
	return 0;
}

void screen_close(const struct screen *screen)
{
	fputs(LEAVE, stdout);
	fflush(stdout);
	tcsetattr(STDIN_FILENO, TCSANOW, &screen->before);
}

void screen_draw(const char *text)
{
	struct winsize size;
	const char *end;
	unsigned rows = 24;

	if (!ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) && size.ws_row)
		rows = size.ws_row;
	fputs("\033[H", stdout);
	for (unsigned row = 1; row < rows && *text; row++, text = end + 1) {
		end = strchrnul(text, '\n');
		printf("%.*s\033[K\n", (int)(end - text), text);
		if (!*end)
			break;
	}
	fputs("\033[J", stdout);
	fflush(stdout);
}
