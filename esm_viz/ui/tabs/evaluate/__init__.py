"""The Evaluate tab: leaderboard, flips, confusions and routing on test images."""
