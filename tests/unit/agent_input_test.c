// SPDX-License-Identifier: GPL-2.0-only
/* What the agent says of its input, beyond what the event ring holds. */
#include <errno.h>
#include <unistd.h>

#include "agent_state.h"
#include "check.h"
#include "log.h"

static char captured[4096];

/* What agent_on_watch() writes to stderr. */
static const char *said_of(int error)
{
	FILE *file = tmpfile();
	int saved = dup(STDERR_FILENO);

	dup2(fileno(file), STDERR_FILENO);
	log_init(LOG_LEVEL_INFO, false);
	agent_on_watch(NULL, "/etc/sluice", error);
	dup2(saved, STDERR_FILENO);
	close(saved);
	rewind(file);
	captured[fread(captured, 1, sizeof(captured) - 1, file)] = '\0';
	fclose(file);
	return captured;
}

TEST(a_directory_that_inotify_refuses)
{
	CHECK(strstr(said_of(-EMFILE), " warn cannot watch /etc/sluice: Too many open files; looking "
				       "every second instead; raise fs.inotify.max_user_instances\n"));
	CHECK(strstr(said_of(-ENOSPC), "; raise fs.inotify.max_user_watches\n"));
	CHECK(strstr(said_of(-ENOMEM), "every second instead\n"));
	CHECK(strstr(said_of(0), " info watching /etc/sluice again"));
}
