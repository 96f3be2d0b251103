"""The paper's tables and figures, found in what a workspace holds, with visible gaps for the rest."""
