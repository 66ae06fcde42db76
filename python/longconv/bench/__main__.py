# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""``python -m longconv.bench``."""

from longconv.bench.cli import main

raise SystemExit(main())
