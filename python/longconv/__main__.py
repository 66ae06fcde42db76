# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""``python -m longconv``."""

import sys

from longconv.cli import main

sys.exit(main())
